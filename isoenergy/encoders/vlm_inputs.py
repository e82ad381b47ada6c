"""What a generative vision-language model reads of an image alone, and of a caption, and which tokens are theirs."""

import copy
import inspect
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from isoenergy.encoders.dual_encoder import Pixels, Tokens
from isoenergy.errors import InputError
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.settings.hidden_states import CAPTION, IMAGE, HiddenStates

MOST_CAPTION_TOKENS = 512
"""Of what the model reads of a caption; what is longer is cut."""
_AS_SHIPPED = {"do_resize": False, "do_center_crop": False, "do_pad": False}
_MARK = "\ue000"
"""Of the private use area, which no template holds."""


class VlmInputs:
    """A model's own processor, with the prompts around an image and around a caption."""

    def __init__(
        self, name: str, processor: Any, network: PreTrainedModel, reading: HiddenStates, resized: bool
    ) -> None:
        """Try the processor on a black image and on a caption.

        processor: of transformers. resized: images come at the processor's own size already.
        Raises InputError if no token can be told to be the image's, or the tokenizer cannot say where tokens lie.
        """
        self._name, self._processor, self._reading = name, processor, reading
        self._tokenizer: Any = copy.deepcopy(processor.tokenizer)  # one call at a time may change its settings
        self._turn = threading.Lock()
        self._tokenizer.padding_side = self._tokenizer.truncation_side = "right"
        if not getattr(self._tokenizer, "is_fast", False):
            raise InputError(f"the tokenizer of {name} does not say where its tokens lie in a text: it is no fast one")
        self._cut = _AS_SHIPPED if resized else {}
        self._taken = set(inspect.signature(network.base_model.forward).parameters) & set(processor.model_input_names)
        self._image_token = _image_token(name, processor, network.config)
        self.image_text = self._image_text(network.config)
        image_ids = self.of_images([np.zeros((64, 64, 3), np.uint8)])["input_ids"][0].tolist()
        if self._image_token not in image_ids:
            raise InputError(f"{name} reads no token {self._image_token} of an image, as its config.json says it does")
        self.caption_text = self._caption_text(image_ids)
        added = self._tokenizer.added_tokens_decoder.items()
        special = {number for number, token in added if token.special} | {*self._tokenizer.all_special_ids}
        self._not_of_captions = (special | {self._image_token}) - {self._tokenizer.unk_token_id}

    def of_images(self, pixels: Sequence[Pixels]) -> dict[str, Tensor]:
        """Return what the model takes of `(height, width, 3)` uint8 images, padded on the right."""
        given = self._processor(
            text=[self.image_text] * len(pixels),
            images=[Image.fromarray(image) for image in pixels],
            images_kwargs=dict(self._cut),
            text_kwargs={"padding": True, "padding_side": "right", **self._specials(self.image_text)},
            return_tensors="pt",
        )
        return {key: value for key, value in given.items() if key in self._taken}

    def of_image(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return which tokens are the image's, `(images, tokens)` bool."""
        return inputs["input_ids"] == self._image_token

    def tokenise(self, captions: Sequence[str]) -> Tokens:
        """Return ids, attention mask and which tokens are the caption's own, `(captions, tokens)`, padded on the right.

        Raises Rejected if a caption has no token, or one of the model's special ones.
        """
        before, _, after = self.caption_text.partition(CAPTION)
        with self._turn:
            tokens = self._tokenizer(
                [f"{before}{caption}{after}" for caption in captions],
                padding=True,
                truncation=True,
                max_length=min(MOST_CAPTION_TOKENS, self._tokenizer.model_max_length),
                return_offsets_mapping=True,
                return_tensors="pt",
                **self._specials(self.caption_text),
            )
        ids, attended, places = (tokens[key] for key in ("input_ids", "attention_mask", "offset_mapping"))
        own = attended.bool() & (places[..., 1] > len(before)) & (places[..., 1] > places[..., 0])
        for row, caption in enumerate(captions):
            own[row] &= places[row, :, 0] < len(before) + len(caption)
            self._require_plain(ids[row][own[row]].tolist())
        return ids, attended, own

    def of_tokens(self, tokens: Tokens) -> dict[str, Tensor]:
        """Return what the model takes of tokenised captions."""
        ids, attended, _ = tokens
        given = {"input_ids": ids, "attention_mask": attended}
        if "token_type_ids" in self._taken:
            given["token_type_ids"] = ids.new_zeros(ids.shape)
        return given

    def describe(self) -> dict[str, Any]:
        """Return what is read, as JSON values."""
        return {
            "pooling": self._reading.pooling,
            **({"most_tokens": self._reading.most_tokens} if self._reading.pooling == "all" else {}),
            "image_text": self.image_text,
            "caption_text": self.caption_text,
            "most_caption_tokens": MOST_CAPTION_TOKENS,
            "chat": self._reading.chat,
        }

    def _require_plain(self, ids: list[int]) -> None:
        if not ids:
            raise Rejected(Reason.EMPTY_CAPTION, "it has no tokens")
        if found := self._not_of_captions.intersection(ids):
            token = self._tokenizer.convert_ids_to_tokens(min(found))
            raise Rejected(Reason.UNUSABLE_ROW, f"the caption holds {token}, a special token of the model's")

    def _specials(self, text: str) -> dict[str, bool]:
        bos = self._tokenizer.bos_token
        return {"add_special_tokens": not (bos and text.startswith(bos))}

    def _image_text(self, config: PreTrainedConfig) -> str:
        before, _, after = self._reading.image_prompt.partition(IMAGE)
        if self._reading.chat:
            said = [{"type": "text", "text": text} if text else None for text in (before, after)]
            return self._in_chat([said[0], {"type": "image"}, said[1]])
        edges = [getattr(config, f"vision_{edge}_token_id", None) for edge in ("start", "end")]
        if None not in edges:  # Qwen-VL has an image between them
            start, end = self._tokenizer.convert_ids_to_tokens(edges)
            before, after = before + start, end + after
        return f"{before}{self._processor.image_token}{after}"

    def _caption_text(self, image_ids: list[int]) -> str:
        text = self._reading.caption_prompt.replace(CAPTION, _MARK)
        if self._reading.chat:
            text = self._in_chat([{"type": "text", "text": text}])
            if text.count(_MARK) != 1:
                raise InputError(f"the chat template of {self._name} does not show what the user says once")
        bos = self._tokenizer.bos_token_id
        begins = self._tokenizer(text, **self._specials(text))["input_ids"]
        if bos in image_ids and bos not in begins:  # PaliGemma's processor puts it before the prompt of an image alone
            text = self._tokenizer.bos_token + text
        return text.replace(_MARK, CAPTION)

    def _in_chat(self, said: list[dict[str, str] | None]) -> str:
        if not getattr(self._processor, "chat_template", None):
            raise InputError(f"{self._name} has no chat template; leave --vlm.chat out")
        content = [part for part in said if part]
        text: str = self._processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        return text


def _image_token(name: str, processor: Any, config: PreTrainedConfig) -> int:
    """Return the id that stands for a part of an image."""
    token = getattr(config, "image_token_id", None)
    token = getattr(processor, "image_token_id", None) if token is None else token
    if not isinstance(token, int) or not isinstance(getattr(processor, "image_token", None), str):
        raise InputError(f"{name} does not say which token stands for an image: it has no image_token_id")
    return token
