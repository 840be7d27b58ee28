"""Workflows with typed input and output."""

import dataclasses
import datetime as dt
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from stepwell import AsyncClient, Context, workflow
from tests.api.tools import cases, executed, ran


@dataclasses.dataclass
class Item:
    name: str
    count: int = 1


@dataclasses.dataclass
class Order:
    id: int
    items: list[Item]
    when: dt.datetime | None = None


class OrderDict(TypedDict):
    id: int


class OrderStruct(msgspec.Struct):
    id: int


class OrderModel(pydantic.BaseModel):
    id: int = pydantic.Field(gt=0)


got: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    got.clear()


@workflow("typed-dataclass")
async def by_dataclass(ctx: Context, order: Order) -> Order:
    got.append(order)
    return order


@workflow("typed-dict")
async def by_dict(ctx: Context, order: OrderDict) -> int:
    got.append(order)
    return order["id"]


@workflow("typed-struct")
async def by_struct(ctx: Context, order: OrderStruct) -> int:
    got.append(order)
    return order.id


@workflow("typed-model")
async def by_model(ctx: Context, order: OrderModel) -> int:
    got.append(order)
    return order.id


@workflow("typed-list")
async def by_list(ctx: Context, orders: list[OrderStruct]) -> int:
    got.append(orders)
    return len(orders)


@workflow("typed-option", input_type=OrderStruct)
async def by_option(ctx, order):
    got.append(order)


CASES = [
    (by_dict, {"id": 7}),
    (by_struct, OrderStruct(7)),
    (by_model, OrderModel(id=7)),
    (by_option, OrderStruct(7)),
]


@pytest.mark.parametrize(("wf", "expected"), CASES, ids=[wf.name for wf, _ in CASES])
async def test_a_value_or_a_list_of_exactly_one_gives_that_one_decoded(client: AsyncClient, wf: Any, expected: Any):
    async with client.worker(wf):
        for given in ({"id": 7}, [{"id": 7}], expected):
            run = await ran(client, wf, given)
            assert run.status == "completed", run.error
    assert got == [expected] * 3
    assert {type(value) for value in got} == {type(expected)}


async def test_a_list_type_takes_the_whole_list(client: AsyncClient):
    async with client.worker(by_list):
        for count in (0, 1, 2):
            assert (await ran(client, by_list, [{"id": number} for number in range(count)])).output == count
    assert got == [[OrderStruct(number) for number in range(count)] for count in (0, 1, 2)]


async def test_values_deep_inside_are_decoded(client: AsyncClient):
    order = Order(1, [Item("apple"), Item("pear", 3)], dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    run = await executed(client, by_dataclass, order)
    assert got == [order]
    assert run.output == {
        "id": 1,
        "items": [{"name": "apple", "count": 1}, {"name": "pear", "count": 3}],
        "when": "2026-01-01T00:00:00Z",
    }


@cases(
    ("wf", "input", "field"),
    [
        (by_dataclass, {"id": "seven", "items": []}, "input/id"),
        (by_dataclass, {"id": 1}, "items"),
        (by_dataclass, {"id": 1, "items": [{"name": "apple"}, {"name": 7}]}, "input/items/1/name"),
        (by_dataclass, None, "input"),
        (by_dataclass, [], "input"),
        (by_dataclass, [{"id": 1, "items": []}, {"id": 2, "items": []}], "input"),
        (by_dataclass, "text", "input"),
        (by_dict, {"id": None}, "input/id"),
        (by_dict, {}, "id"),
        (by_struct, [{"id": 1.5}], "input/id"),
        (by_model, {"id": 0}, "input/id"),
        (by_model, {"id": "x"}, "input/id"),
        (by_list, [{"id": 1}, {"id": "2"}], "input/1/id"),
        (by_list, {"id": 1}, "input"),
    ],
)
async def test_what_does_not_fit_fails_the_run_and_names_the_field(client: AsyncClient, wf: Any, input: Any, field: str):
    # promise 14
    run = await executed(client, wf, input)
    assert run.status == "failed"
    assert run.error is not None
    assert "ValidationError" in run.error
    assert field in run.error
    assert got == [], "the function was not called"
    assert run.event_count == 3


async def test_an_input_without_annotation_is_not_touched(client: AsyncClient):
    @workflow("typed-not")
    async def wf(ctx, input):
        return input

    assert (await executed(client, wf, [{"id": "7"}])).output == [{"id": "7"}]


@pytest.mark.parametrize("kind", [dict, Any, dict[str, Any], object])
async def test_a_plain_annotation_leaves_the_input_as_it_is(client: AsyncClient, kind: Any):
    async def body(ctx, input):
        got.append(input)

    body.__annotations__["input"] = kind
    await executed(client, workflow("typed-plain").run(body), {"a": [1]})
    assert got == [{"a": [1]}]


async def test_the_output_of_a_run_is_what_json_makes_of_it(client: AsyncClient):
    @workflow("typed-output")
    async def wf(ctx):
        return (OrderModel(id=1), {2}, dt.timedelta(hours=1), b"x")

    run = await executed(client, wf)
    assert run.output == [{"id": 1}, [2], "PT3600S", "eA=="]
