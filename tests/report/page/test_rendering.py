from isoenergy.report.page.rendering import environment


def unbroken(sentence: str) -> str:
    return (
        environment()
        .from_string("{{ sentence | unbroken }}")
        .render(sentence=sentence)
        .replace("\N{NO-BREAK SPACE}", "_")
    )


def test_brackets_stay_on_a_line_unless_a_phone_is_too_narrow_for_them() -> None:
    assert (
        unbroken("at R² 0.9 [0.8, 1.0] (centred 0.7)")
        == 'at R² 0.9 <span class="bounds">[0.8,_1.0]</span> (centred_0.7)'
    )
    long = "(median of the differences, training by training)"
    assert unbroken(long) == long
