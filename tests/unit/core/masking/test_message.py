"""One WebSocket message: masked by its content, and the books of a session stay bounded."""

import pytest

from addons.core.config import model
from addons.core.errors import Unmaskable
from addons.core.exchange import Exchange
from addons.core.masking import message
from addons.core.masking.answer import Terms
from addons.core.masking.pseudonym import Place
from addons.core.masking.receipt import MAX_FIELDS, MAX_ROWS
from tests.parts.masking import view, warm_engine

SECRET = b"upstream-credential-0123456789"


def terms(masks: bool = True) -> Terms:
    return Terms(view("pii") if masks else None, model.MaskLimits(), Place(service="crm"), (SECRET,))


def masked(content: bytes, *, is_text: bool = True, masks: bool = True) -> message.MaskedMessage:
    engine = warm_engine()
    return message.mask_message(content, is_text, terms(masks), engine.detector, engine.transformer, lambda: None)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"email": "ann@corp.example"}', id="json"),
        pytest.param('[1, "ann@corp.example"]', id="a-list"),
        pytest.param('"ann@corp.example"', id="a-json-string"),
        pytest.param("write to ann@corp.example", id="text"),
        pytest.param('{"broken": ann@corp.example', id="broken-json-is-text"),
        pytest.param('{"inner": "{\\"email\\": \\"ann@corp.example\\"}"}', id="json-in-json"),
    ],
)
def test_a_value_is_masked_however_it_comes(content):
    made = masked(content.encode())
    assert b"ann@corp.example" not in made.content
    assert made.counts == {"EMAIL_ADDRESS": 1}


def test_what_holds_nothing_stays_as_it_is():
    assert masked(b'{"n": 1.00, "n": 2 }').content == b'{"n": 1.00, "n": 2 }'


@pytest.mark.parametrize("masks", [True, False])
def test_the_injected_credential_never_comes_back(masks):
    assert SECRET not in masked(b"you are " + SECRET, masks=masks).content


@pytest.mark.parametrize(
    ("is_text", "subprotocol", "listed", "masks", "passes"),
    [
        pytest.param(True, "", (), True, True, id="text"),
        pytest.param(False, "", (), True, False, id="binary"),
        pytest.param(False, "", ("",), True, False, id="no-subprotocol-cannot-be-vouched-for"),
        pytest.param(False, "pictures", ("pictures",), True, True, id="vouched-for"),
        pytest.param(False, "other", ("pictures",), True, False, id="another-one"),
        pytest.param(False, "", (), False, True, id="nothing-is-owed"),
    ],
)
def test_which_binary_messages_pass(is_text, subprotocol, listed, masks, passes):
    if passes:
        message.check_kind(is_text, subprotocol, listed, masks)
        return
    with pytest.raises(Unmaskable) as error:
        message.check_kind(is_text, subprotocol, listed, masks)
    assert error.value.reason == "media"


def entry(path: str, count: int = 1) -> dict[str, object]:
    return {"profile": "pii", "info_type": "EMAIL_ADDRESS", "path": path, "transform": "pseudonym", "count": count, "revealed": False}


def test_books_add_up():
    record = Exchange()
    for _ in range(3):
        message.add(record, message.MaskedMessage(b"", {"EMAIL_ADDRESS": 2}, [entry("/a", 2)], {"/a": 2}))
    assert record.masked == {"EMAIL_ADDRESS": 6}
    assert record.receipt == [entry("/a", 6)]
    assert record.fields_seen == {"/a": 6}


def test_books_stay_bounded():
    record = Exchange()
    for number in range(MAX_ROWS + 50):
        message.add(record, message.MaskedMessage(b"", {}, [entry(f"/{number}")], {f"/{number}": 1}))
    assert (len(record.receipt), len(record.fields_seen)) == (MAX_ROWS, MAX_FIELDS)
