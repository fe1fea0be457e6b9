import zoo


def test_the_zoo_is_listed_with_what_an_experiment_needs_to_know(growres):
    rows = growres("zoo", "list", "--format", "json").json
    assert [row["name"] for row in rows] == zoo.list_models()
    by_name = {row["name"]: row for row in rows}
    assert by_name["lenet5"]["year"] == 1998
    assert by_name["preact_resnet"]["grows"] is True
    assert "blocks" in [argument["name"] for argument in by_name["preact_resnet"]["arguments"]]


def test_a_pattern_chooses(growres):
    names = [row["name"] for row in growres("zoo", "list", "preact*", "--format", "json").json]
    assert names and all(name.startswith("preact") for name in names)


def test_a_depth_that_is_not_listed_is_found_by_its_name(growres):
    assert [row["name"] for row in growres("zoo", "list", "resnet26", "--format", "json").json] == ["resnet26"]


def test_what_matches_nothing_names_the_nearest(growres):
    answer = growres("zoo", "list", "lenet6")
    assert answer.code == 2
    assert "lenet5" in answer.err


def test_a_depth_that_no_network_has_names_its_neighbours(growres):
    answer = growres("zoo", "list", "resnet27")
    assert answer.code == 2
    assert "the nearest are resnet26 and resnet32" in answer.err
