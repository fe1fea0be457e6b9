from datetime import UTC, datetime, timedelta, timezone

import pytest

from growres.cli import figures


@pytest.mark.parametrize(
    ("function", "number", "written"),
    [
        (figures.percent, 0.0209, "2.09%"),
        (figures.percent, 1.0, "100.00%"),
        (figures.count, 950, "950"),
        (figures.count, 12_345, "12.3k"),
        (figures.count, 269_722, "269.7k"),
        (figures.count, 60_965_224, "60.97M"),
        (figures.count, 1_234_567_890, "1.23B"),
        (figures.whole, 12_345.6, "12,346"),
        (figures.flops, 1_234_567_890_123, "1.2 TFLOP"),
        (figures.flops, 999, "999 FLOP"),
        (figures.num_bytes, 0, "0 B"),
        (figures.num_bytes, 123_456, "120.6 KiB"),
        (figures.seconds, 0.349, "0.35s"),
        (figures.seconds, 12.34, "12.3s"),
        (figures.seconds, 59.97, "1m 00s"),
        (figures.seconds, 62.4, "1m 02s"),
        (figures.seconds, 7500, "2h 05m"),
        (figures.seconds, 7199.9, "2h 00m"),
    ],
)
def test_a_figure_is_written_in_a_unit_that_suits_it(function, number, written):
    assert function(number) == written


@pytest.mark.parametrize(
    "function",
    [figures.percent, figures.count, figures.whole, figures.flops, figures.num_bytes, figures.seconds, figures.time],
)
def test_what_is_not_known_is_a_dash(function):
    assert function(None) == "-"


def test_a_spread_stands_beside_its_mean_and_only_where_there_is_one():
    assert figures.percent_with_spread(0.021, 0.003) == "2.10% +- 0.30"
    assert figures.percent_with_spread(0.021, None) == "2.10%"
    assert figures.percent_with_spread(None, None) == "-"


def test_control_characters_are_escaped():
    assert figures.text("\x1b[31mred\r\nline\u202e") == "\\x1b[31mred\\r\\nline\\u202e"
    assert figures.text("Größe 漢字 | fine") == "Größe 漢字 | fine"


def test_times_are_in_utc():
    moment = datetime(2026, 1, 31, 13, 30, tzinfo=timezone(timedelta(hours=1)))
    assert figures.time(moment) == "2026-01-31 12:30:00"
    assert figures.iso_time(moment) == "2026-01-31T12:30:00Z"
    naive = datetime(2026, 1, 31, 12, 30)
    assert figures.iso_time(naive) == figures.iso_time(naive.replace(tzinfo=UTC))
