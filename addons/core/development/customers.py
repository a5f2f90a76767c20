"""Made-up customers for the example service. Numbers and addresses are from the ranges that are kept free for examples."""

from typing import Any

CUSTOMERS: tuple[dict[str, Any], ...] = (
    {
        "id": 1, "name": "Erika Mustermann", "email": "erika.mustermann@example.com", "phone": "+49 30 23125 001", "city": "Berlin",
        "iban": "DE89 3704 0044 0532 0130 00", "card": None, "ssn": None, "plan": "basic", "balance_cents": 129900,
        "notes": ["Prefers mail to erika.mustermann@example.com.", "Called from +49 30 23125 001 about her invoice."],
    },
    {
        "id": 2, "name": "John Sample", "email": "john.sample@example.org", "phone": "+1 202-555-0143", "city": "Washington",
        "iban": None, "card": "4111 1111 1111 1111", "ssn": "219-09-9999", "plan": "pro", "balance_cents": 4200,
        "notes": ["Card 4111 1111 1111 1111 was declined once.", "SSN 219-09-9999 given by phone; must not be in the notes."],
    },
    {
        "id": 3, "name": "Amélie Dupont", "email": "amelie.dupont@example.net", "phone": "+33 1 99 00 12 34", "city": "Paris",
        "iban": "FR14 2004 1010 0505 0001 3M02 606", "card": None, "ssn": None, "plan": "basic", "balance_cents": 0,
        "notes": ["Refund to FR14 2004 1010 0505 0001 3M02 606."],
    },
    {
        "id": 4, "name": "Oluwaseun Example", "email": "o.example@example.com", "phone": "+44 20 7946 0958", "city": "London",
        "iban": "GB82 WEST 1234 5698 7654 32", "card": "5555 5555 5555 4444", "ssn": None, "plan": "enterprise", "balance_cents": 990000,
        "notes": [],
    },
    {
        "id": 5, "name": "Mia Test", "email": "mia@test.example", "phone": "+1 415-555-0188", "city": "San Francisco",
        "iban": None, "card": None, "ssn": "078-05-1120", "plan": "pro", "balance_cents": 1550,
        "notes": ["Wants a copy of the contract at mia@test.example."],
    },
    {
        "id": 6, "name": "Karl Beispiel", "email": "karl@beispiel.example", "phone": "+49 40 66969 123", "city": "Hamburg",
        "iban": "DE02 1203 0000 0000 2020 51", "card": None, "ssn": None, "plan": "basic", "balance_cents": 700,
        "notes": ["Moves house in May."],
    },
    {
        "id": 7, "name": "Ana Ejemplo", "email": "ana.ejemplo@example.com", "phone": "+1 303-555-0119", "city": "Denver",
        "iban": None, "card": "3782 822463 10005", "ssn": None, "plan": "pro", "balance_cents": 8800,
        "notes": ["Asked to be deleted.", "Backup address ana@example.net."],
    },
    {
        "id": 8, "name": "Tom Placeholder", "email": "tom.placeholder@example.com", "phone": "+44 161 496 0123", "city": "Manchester",
        "iban": "GB33 BUKB 2020 1555 5555 55", "card": None, "ssn": None, "plan": "basic", "balance_cents": 310,
        "notes": [],
    },
)  # fmt: skip
