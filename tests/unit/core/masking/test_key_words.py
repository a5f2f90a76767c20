"""What a field's name tells."""

import pytest

from addons.core.masking.key_words import believable, family, tells_of_person, words


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("dbPassword", ("db", "password")),
        ("DB_PASSWORD", ("db", "password")),
        ("db-password", ("db", "password")),
        ("spring.datasource.password", ("spring", "datasource", "password")),
        ("APIKey", ("api", "key")),
        ("card number", ("card", "number")),
        ("line2", ("line", "2")),
        ("", ()),
    ],
)
def test_a_key_is_split_into_words(key, parts):
    assert words(key) == parts


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "DB_PASSWORD",
        "userPassword",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "clientSecret",
        "token",
        "accessToken",
        "refresh_token",
        "id_token",
        "apiKey",
        "api-key",
        "X-Api-Key",
        "AWS_SECRET_ACCESS_KEY",
        "privateKey",
        "credentials",
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "sessionId",
        "session_id",
        "connectionString",
        "dsn",
        "password2",
        "newPassword",
        "password_confirmation",
        "passwordValue",
        "SECRET_KEY_BASE",
        "redis_pass",
        "githubToken",
        "csrf_token",
    ],
)
def test_secret_words(key):
    assert family(key).info_type == "SECRET"


@pytest.mark.parametrize(
    "key",
    [
        "nextPageToken",
        "progressToken",
        "page_token",
        "continue",
        "continueToken",
        "cursor_token",
        "syncToken",
        "tokenType",
        "token_endpoint",
        "tokenExpirationSeconds",
        "maxTokens",
        "prompt_tokens",
        "completion_tokens",
        "secretName",
        "secretRef",
        "secretKeyRef",
        "passwordPolicy",
        "password_length",
        "keyId",
        "kid",
        "publicKey",
        "public_key",
        "next_token",
        "passwordResetUrl",
        "tokenizer",
        "tokens",
        "username",
        "id",
        "name",
        "description",
        "key",
    ],
)
def test_words_that_only_sound_secret(key):
    found = family(key)
    assert found is None or found.info_type != "SECRET"


@pytest.mark.parametrize(
    ("key", "info_type"),
    [
        ("firstName", "PERSON"), ("card_holder", "PERSON"), ("recipient", "PERSON"), ("date_of_birth", "DATE_OF_BIRTH"), ("dob", "DATE_OF_BIRTH"),
        ("addressLine1", "STREET_ADDRESS"), ("street", "STREET_ADDRESS"), ("mobile", "PHONE_NUMBER"), ("phoneNumber", "PHONE_NUMBER"), ("ssn", "US_SSN"),
        ("cardNumber", "CREDIT_CARD"), ("pan", "CREDIT_CARD"), ("iban", "IBAN_CODE"), ("customerEmail", "EMAIL_ADDRESS"), ("e-mail", "EMAIL_ADDRESS"),
    ],
)  # fmt: skip
def test_families(key, info_type):
    assert family(key).info_type == info_type


@pytest.mark.parametrize(
    "key",
    ["ip_address", "macAddress", "emailTemplate", "hostname", "username", "order_number", "email_verified", "phoneLogin", "cardinality"],
)
def test_near_misses_tell_nothing_of_a_person(key):
    assert family(key) is None


def test_a_bare_name_counts_only_beside_a_person():
    assert family("name").needs_person
    assert tells_of_person("email")
    assert not tells_of_person("name")
    assert not tells_of_person("namespace")


@pytest.mark.parametrize(
    ("info_type", "key", "value", "counts"),
    [
        ("STREET_ADDRESS", "address", "10.0.0.1", False), ("STREET_ADDRESS", "address", "15 High Street", True), ("STREET_ADDRESS", "street", "Broadway", True),
        ("PHONE_NUMBER", "phone", "yes", False), ("PHONE_NUMBER", "phone", "555 0123 4", True), ("CREDIT_CARD", "card_number", "string", False),
        ("EMAIL_ADDRESS", "email", "confirmed", False), ("EMAIL_ADDRESS", "email", "a@b", True), ("SECRET", "password", "x", True), ("SECRET", "password", "  ", False),
    ],
)  # fmt: skip
def test_a_value_must_be_able_to_be_what_its_key_says(info_type, key, value, counts):
    assert believable(info_type, key, value) is counts
