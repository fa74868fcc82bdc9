"""Random probes for as long as ``--fuzz-seconds`` says: exits.random.short is the same with a fixed seed."""

import pytest

from touchstone.suite.random_probes import as_yaml


@pytest.mark.touchstone(
    id="exits.random.campaign",
    title="Random sequences of instructions end as on the bare machine",
    area="exits",
    phase="native",
    requires="os == bare",
    cite={
        "doc": "touchstone-design",
        "title": "Words",
        "says": "`expect: native` means that the hypervisor must not show.",
    },
    proves=["exits-code-native"],
)
def test_campaign(random_campaign, record_property):
    campaign = random_campaign()
    record_property("random-probes", campaign.probes)
    record_property("not-comparable", campaign.not_comparable)
    found = [
        f"seed {one.seed}, probe {one.number} (--fuzz-seed={one.seed} --fuzz-seconds=1): {one.what}\n"
        + as_yaml(one.probe, f"exits.random.seed-{one.seed}-{one.number}", "Made from a random probe")
        for one in campaign.found
    ]
    assert not found, "\n".join([f"of {campaign.probes} random probes:", *found])
