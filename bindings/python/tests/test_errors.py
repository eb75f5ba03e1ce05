"""Exceptions."""

import builtins
import pickle
import sys

import pytest

import cnirt

OBJECT = {
    "cniVersion": "1.0.0",
    "code": 11,
    "msg": "a\nb",
    "class": "CNI_E_PLUGIN",
    "details": "more",
    "hint": "do this",
    "plugin": "bridge",
    "command": "ADD",
    "network": "net",
    "ifName": "eth0",
    "cause": {"code": 11, "msg": "busy"},
    "errors": [{"code": 999, "msg": "a", "class": "CNI_E_IO"}, {"code": 999, "msg": "b", "class": "CNI_E_NEW"}],
    "rollback": {"done": False, "errors": [{"code": 999, "msg": "c", "class": "CNI_E_TIMEOUT"}]},
}


def check(error):
    assert type(error) is cnirt.PluginError
    assert str(error) == error.msg == "a\nb"
    assert (error.rc, error.class_name, error.code, error.details) == (4, "CNI_E_PLUGIN", 11, "more")
    assert (error.hint, error.plugin, error.command) == ("do this", "bridge", "ADD")
    assert (error.network, error.if_name, error.cause) == ("net", "eth0", {"code": 11, "msg": "busy"})
    assert [(type(one), one.class_name) for one in error.errors] == [
        (cnirt.IoError, "CNI_E_IO"),
        (cnirt.Error, "CNI_E_NEW"),
    ]
    assert not error.rollback["done"]
    assert [(type(one), one.msg) for one in error.rollback["errors"]] == [(cnirt.TimeoutError, "c")]
    assert error.object == OBJECT


def test_every_key_is_an_attribute():
    check(cnirt.Error.from_object(OBJECT))


def test_survives_pickling():
    check(pickle.loads(pickle.dumps(cnirt.Error.from_object(OBJECT))))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes before 3.11")
def test_the_hint_is_shown_below_the_message():
    assert cnirt.Error.from_object(OBJECT).__notes__ == ["hint: do this"]


def test_an_unknown_return_code_is_an_error_without_subclass():
    error = cnirt.Error.from_object({"code": 1, "msg": "new", "class": "CNI_E_NEW"}, 99)
    assert (type(error), error.rc, error.class_name) == (cnirt.Error, 99, "CNI_E_NEW")


@pytest.mark.parametrize(
    ("kind", "python_kind"),
    [
        (cnirt.TimeoutError, builtins.TimeoutError),
        (cnirt.InvalidArgumentError, ValueError),
        (cnirt.NotFoundError, LookupError),
    ],
)
def test_is_pythons_own_kind_too(kind, python_kind):
    assert issubclass(kind, python_kind)
    assert issubclass(kind, cnirt.Error)
    assert str(kind("words", code=7)) == "words"


def test_one_made_in_python_has_an_object():
    error = cnirt.RetryError("busy", code=11, details="more", hint="wait")
    assert error.object == {
        "code": 11,
        "msg": "busy",
        "class": "CNI_E_RETRY",
        "details": "more",
        "hint": "wait",
    }
    assert (error.code, error.details, error.hint, error.errors, error.rollback) == (11, "more", "wait", [], None)


def test_a_refusal_carries_the_librarys_words_and_hint():
    with pytest.raises(cnirt.InvalidArgumentError, match='unknown key "confdir"') as caught:
        cnirt.Plugin(confdir="/x")
    assert '"confDir"' in caught.value.hint
