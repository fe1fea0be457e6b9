import csv
import io

import pytest

from growres.analysis.power import detectable_drop, images_needed, mcnemar_power, unrelated_discordant, usual_discordant

ASKED = ("power", "--validation-images", "5000", "--error", "0.06")


def test_the_drop_that_a_step_detects_is_said_with_its_terms(growres):
    out = growres(*ASKED).out
    drop = f"{100 * detectable_drop(5000, 0.06):.2f} pp"
    assert (
        "5,000 validation images, at an error of 6.00%" in out
        and f"detects a true drop of {drop} 80% of the time" in out
    )
    assert "one-sided, alpha 0.05" in out and "a smaller one less often" in out
    [usual] = [line.split() for line in out.splitlines() if line.split()[1:2] == ["usual"]]
    assert usual[:4] == ["5.00%", "usual", *drop.split()]


def test_the_table_shows_what_other_discordance_would_mean(growres):
    rows = growres(*ASKED, "--format", "json").json
    assert [row["assumption"] for row in rows] == ["half the usual", "usual", "1.5 x the usual", "unrelated networks"]
    assert rows[1]["discordant"] == usual_discordant(0.06) and rows[3]["discordant"] == unrelated_discordant(0.06)
    drops = [row["detectable_drop"] for row in rows]
    assert drops == sorted(drops) and len(set(drops)) == 4
    for row in rows[:3]:  # of unrelated networks a drop makes fewer images discordant
        found = mcnemar_power(5000, row["detectable_drop"], row["discordant"])
        assert found == pytest.approx(0.8, abs=0.001)


def test_the_images_that_a_drop_takes_are_given_for_the_usual_drops_and_for_ones_own(growres):
    row = growres(*ASKED, "--drop", "0.002", "--format", "json").json[1]
    for drop in ("0.001", "0.002", "0.003", "0.005", "0.01"):
        assert row[f"images_for_{drop}"] == images_needed(float(drop), 0.06)


def test_level_power_and_discordance_are_those_given(growres):
    row = growres(
        *ASKED, "--alpha", "0.005", "--power", "0.9", "--discordant", "0.03", "--format", "json"
    ).json[1]  # fmt: skip
    assert (row["assumption"], row["discordant"], row["alpha"], row["power"]) == ("given", 0.03, 0.005, 0.9)
    assert row["detectable_drop"] == detectable_drop(5000, 0.06, alpha=0.005, power=0.9, discordant=0.03)


def test_a_split_that_detects_nothing_says_so(growres):
    asked = ("power", "--validation-images", "40", "--error", "0.06")
    answer = growres(*asked)
    assert "does not detect even a drop of 5.00 pp, all that is discordant, 80% of the time" in answer.out
    assert "Detects -: not even the largest drop that there is room for" in answer.err
    assert growres(*asked, "--format", "json").json[1]["detectable_drop"] is None
    assert "does not detect even a drop to an error of 0" in growres(*asked, "--discordant", "0.08").out


def test_no_row_has_a_drop_larger_than_its_discordant_fraction(growres):
    asked = ("power", "--validation-images", "431", "--error", "0.05", "--discordant", "0.005")
    rows = growres(*asked, "--format", "json").json
    for row in rows:
        assert row["detectable_drop"] is None or row["detectable_drop"] <= row["discordant"]
        for drop in (0.001, 0.003, 0.005, 0.01):
            assert (row[f"images_for_{drop:g}"] is None) == (drop > row["discordant"])
    assert [row["detectable_drop"] is None for row in rows] == [True, True, True, False]
    assert "at most the discordant fraction; a larger one takes -" in growres(*asked).err


def test_a_very_small_drop_and_a_single_image_read_well(growres):
    assert "detects a true drop of 0.0016 pp" in growres(
        "power", "--validation-images", "1000000000", "--error", "0.05"
    ).out  # fmt: skip
    assert "One step on 1 validation image, at" in growres("power", "--validation-images", "1", "--error", "0.05").out


def test_a_drop_that_the_error_leaves_no_room_for_takes_no_number_of_images(growres):
    row = growres("power", "--validation-images", "5000", "--error", "0.004", "--format", "json").json[1]
    assert row["images_for_0.005"] is None and row["images_for_0.003"] > 0


def test_csv_carries_every_field_and_markdown_is_a_table(growres):
    rows = list(csv.DictReader(io.StringIO(growres(*ASKED, "--format", "csv").out)))
    assert len(rows) == 4 and rows[0]["validation_images"] == "5000" and float(rows[1]["detectable_drop"]) < 0.01
    lines = growres(*ASKED, "--format", "md").out.splitlines()
    assert len(lines) == 6 and lines[0].startswith("| discordant | assumption")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--error", "6"), "growres: Cannot find drops from an error of 6: it is a fraction between 0 and 1"),
        (("--alpha", "5"), "5 % is 0.05"),
        (("--power", "80"), "between alpha, 0.05, and 1"),
        (("--discordant", "0.5"), "below 0.12"),
        (("--drop", "0.2"), "at most 0.06"),
        (("--drop", "0.01", "--discordant", "0.005"), "Cannot detect a drop of 0.01 where 0.005 of the images"),
        (("--validation-images", "0"), "--validation-images"),
    ],
)
def test_what_cannot_be_asked_is_one_line_on_stderr(growres, arguments, message):
    answer = growres(*ASKED, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err and answer.err.count("\n") == 1
