"""The command line of a guest, and the record that another process reads."""

from __future__ import annotations

import json

import pytest

from harness.vms.machine import ARGUMENTS, EMULATED, Accelerator, Machine, Record


def test_a_guest_listens_on_the_loopback_address_only_and_reaches_nothing() -> None:
    words = Machine("tcg", kernel="/k").command("one")
    network = words[words.index("-netdev") + 1]
    assert "restrict=on" in network
    assert network.count("hostfwd=") == 1
    assert "hostfwd=tcp:127.0.0.1:" in network
    assert "-no-reboot" in words


def test_no_unit_is_masked_and_no_mitigation_is_off() -> None:
    assert not {"mask", "mitigations", "nokaslr", "audit", "selinux"} & {
        word.partition("=")[0].partition(".")[-1] or word for word in ARGUMENTS.split()
    }
    assert "mitigations" not in ARGUMENTS
    assert "nokaslr" not in ARGUMENTS
    assert "mask" not in ARGUMENTS


def test_a_disk_with_a_boot_loader_of_its_own_gets_no_kernel_from_us() -> None:
    words = Machine("tcg", kernel=None, seed="seed.iso", shells=False).command("one")
    assert not {"-kernel", "-initrd", "-append"} & set(words)
    assert any("seed.iso" in word and "readonly=on" in word for word in words)
    assert not any("pflash" in word for word in words)


def test_a_firmware_is_only_read_and_its_variables_are_the_guest_s_own() -> None:
    words = Machine("tcg", kernel=None, firmware="/firmware/code").command("one")
    code, variables = (word for word in words if "pflash" in word)
    assert "file=/firmware/code" in code
    assert "readonly=on" in code
    assert variables.endswith("file=variables.qcow2")


def test_a_guest_reaches_the_network_only_when_it_is_said_to() -> None:
    assert not any("restrict=off" in word for word in Machine("tcg").command("one"))
    assert any("restrict=off" in word for word in Machine("tcg", network=True).command("one"))


def test_a_snapshot_changes_nothing_but_where_it_starts() -> None:
    machine = Machine("tcg", kernel="/k")
    assert machine.command("one", snapshot="ready") == [*machine.command("one"), "-loadvm", "ready"]


@pytest.mark.parametrize(("name", "word"), [("kvm", "host"), ("tcg", EMULATED)])
def test_an_accelerator_has_its_processor(name: str, word: str) -> None:
    assert word in Accelerator(name, "").options


def test_a_record_reads_back_as_it_was() -> None:
    record = Record("one", Machine("tcg", kernel="/k"), user="u", labels={"a": "b"}, facts={"c": "d"}, pid=7, started="9", snapshot="ready")
    assert Record.of(json.loads(json.dumps(record.as_data()))) == record
