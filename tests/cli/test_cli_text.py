from trueup.cli.text import harmless


def test_nothing_steers_the_terminal() -> None:
    assert harmless("plain\n\ttext, gr\u00fc\u00df") == "plain\n\ttext, gr\u00fc\u00df"
    assert harmless("\x1b[2Jgone\r\x07") == "\u241b[2Jgone\u240d\u2407"
    assert harmless("a\u202eb\x9bc") == "a\ufffdb\ufffdc"
