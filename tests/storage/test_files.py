from isoenergy.storage.files import without_secrets


def test_a_uri_that_is_printed_or_kept_holds_no_secret() -> None:
    assert without_secrets("postgresql://user:secret@host/db") == "postgresql://host/db"
    assert without_secrets("https://user:pw@host:81/a@b?X-Amz-Signature=abc") == "https://host:81/a@b"
    assert (
        without_secrets("s3://user:secret@bucket/0.tar::s3://user:secret@bucket/1.tar")
        == "s3://bucket/0.tar::s3://bucket/1.tar"
    )


def test_what_holds_none_stays_as_it_is() -> None:
    for plain in ("/a/b@c?d", "s3://bucket/a b?c", "sqlite:////a/b.db"):
        assert without_secrets(plain) == plain
