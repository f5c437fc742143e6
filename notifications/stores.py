"""What notifications hold of a person: where its devices are reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from accounts.searching import leftovers_in_tables, tables_of
from accounts.stores import Leftover, Part, Person
from notifications import exported
from notifications.models import PushTarget


class PushStore:
    """Targets go in the transaction that ends a session (``services/targets.clear_target``); what is left of one here is an
    error of ours."""

    name = "notifications"

    def knows(self, user_id: str) -> Iterable[str]:
        for token, call_token in PushTarget.objects.filter(device__user=user_id).values_list(
            "token", "call_token"
        ):
            yield token
            if call_token:
                yield call_token

    def shared(self, person: Person) -> Iterable[str]:
        """An app that is installed anew, or signed in as somebody else, brings the same token."""
        targets = PushTarget.objects.exclude(device__user=person.user_id)
        for name in ("token", "call_token"):
            yield from targets.filter(**{f"{name}__in": person.others}).values_list(name, flat=True)

    def erase(self, person: Person, *, now: int) -> int:
        del now
        PushTarget.objects.filter(device__user=person.user_id).delete()
        return 0

    def export(self, person: Person) -> Iterator[Part]:
        return exported.parts(person)

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        return leftovers_in_tables(self.name, people, tables_of("notifications"))
