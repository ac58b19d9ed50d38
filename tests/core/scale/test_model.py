"""The cost model against what can be worked out on paper."""

from dataclasses import replace

import pytest

from trapline.core.errors import InputError
from trapline.core.scale import prices
from trapline.core.scale.costs import MEASURED, Costs, costs_of
from trapline.core.scale.model import estimate, needs, nodes_for
from trapline.core.scale.plan import PART_CROPS, PART_IMAGES, STREAMED_PART_IMAGES, Plan, Work, works
from trapline.stages import crop, embed, fetch, predict

ROUND = Costs(
    measured_on="paper", fetch_s=0.001, fetch_mb_s=0.002, read_s=0.001, read_mb_s=0.001, crop_s=0.001, crop_mp_s=0.002,
    crop_box_s=0.003, crop_box_mp_s=0.1, load_s=0.001, load_mp_s=0.1, network_s=0.008, train_s=0.03, crop_bytes_px=2,
    driver_s=1e-5, driver_bytes=500,
    start_s=0, spread=0.1,
)  # fmt: skip


def test_parts_are_those_of_the_stages():
    assert fetch.PART_IMAGES == crop.PART_IMAGES == PART_IMAGES
    assert crop.STREAMED_PART_IMAGES == STREAMED_PART_IMAGES
    assert predict.PART_ROWS == embed.PART_ROWS == PART_CROPS


def test_a_run_worked_out_by_hand():
    """3.2 million images on ten machines of 16 vCPUs: 100,000 parts of 32 over 160 slots are 625 rounds."""
    plan = Plan(3_200_000, 10, "c6i.4xlarge", image_mb=1, megapixels=3, boxes_per_image=1, packed=True, train_crops=0,
                crop_px=100)  # fmt: skip
    cropped, predicted = estimate(plan, ROUND).stages
    # a crop: 1 + 2 x 3 + (3 + 100 x 0.01) + (1 + 1) of reading = 13 ms, so that a part takes 0.416 s
    assert cropped.needs_s["CPU"] == pytest.approx(625 * 0.416)
    assert cropped.needs_s["network"] == pytest.approx(3.2e12 / (10 * 6.25e9 / 8))
    assert cropped.needs_s["GET rate"] == pytest.approx(3.2e6 / 5500)
    assert cropped.needs_s["PUT rate"] == pytest.approx(1e5 / 3500)
    assert cropped.needs_s["driver"] == pytest.approx(32)
    assert (cropped.bound_by, cropped.seconds) == ("GET rate", pytest.approx(3.2e6 / 5500))
    # 6,250 parts of 512 crops at 10 ms over 160 slots: 40 rounds (39.06, rounded up)
    assert (predicted.bound_by, predicted.seconds) == ("CPU", pytest.approx(40 * 5.12))


def test_dollars_worked_out_by_hand():
    plan = Plan(
        1_000_000, 1, "m6i.2xlarge", image_mb=2, boxes_per_image=1, train_crops=0, source="internet", months=2,
        dollars_per_hour=0.1, crop_px=100,
    )  # fmt: skip
    found = estimate(plan, ROUND)
    assert found.dollars["requests"] == pytest.approx(2e6 * 0.4e-6 + 1e6 * 5e-6)  # GET image and crop, PUT crop
    assert found.dollars["transfer"] == pytest.approx(2000 * 0.09)
    assert found.dollars["storage"] == pytest.approx(20 * 0.023 * 2)
    assert found.dollars["machines"] == pytest.approx(found.seconds / 3600 * (0.1 + 0.384))
    kept = estimate(replace(plan, keep=True), ROUND)
    assert kept.dollars["storage"] == pytest.approx((20 * 0.023 + 2000 * 0.30) * 2)
    assert [stage.stage for stage in kept.stages] == ["fetch", "crop", "predict"]


def test_a_gpu_is_fed_by_its_machines_cores():
    work = Work("predict", 512, 512, 1, cpu_s=0.002, gpu_s=0.001)
    machine = prices.instance("g4dn.12xlarge")  # 12 vCPUs to a GPU
    assert work.part_s(machine) == pytest.approx(0.512)
    assert replace(work, cpu_s=0.024).part_s(machine) == pytest.approx(1.024)
    assert needs(replace(work, cpu_s=0.024), machine, 1)["CPU"] == pytest.approx(1.024)


def test_fewer_parts_than_slots_leave_slots_idle():
    machine = prices.instance("c6i.8xlarge")
    one, many = (needs(Work("crop", 64, 64, n, cpu_s=0.01), machine, 1)["CPU"] for n in (1, 50))
    assert one == many == pytest.approx(0.64)


def test_the_fewest_machines_that_are_quick_enough():
    plan = Plan(10_000_000, packed=True, train_crops=0, prefixes=10, machine="c6i.4xlarge")
    nodes = nodes_for(plan, ROUND, 4 * 3600)
    assert estimate(replace(plan, nodes=nodes), ROUND).seconds <= 4 * 3600
    assert estimate(replace(plan, nodes=nodes - 1), ROUND).seconds > 4 * 3600


def test_where_no_number_of_machines_helps_it_says_what_binds():
    with pytest.raises(InputError, match=r"even with 10,000, of which crop takes .* \(bound by: PUT rate\)"):
        nodes_for(Plan(10**8, train_crops=0), ROUND, 3600)


def test_the_leading_machine_has_to_hold_the_tables():
    small, large = estimate(Plan(10**6), ROUND), estimate(Plan(10**9), ROUND)
    assert small.head_fits
    assert small.head == "m6i.2xlarge"
    assert not large.head_fits


def test_every_number_that_makes_no_sense_is_named():
    with pytest.raises(InputError) as error:
        estimate(Plan(0, nodes=0, image_mb=-1, machine="g4dn.xlarge"), ROUND)
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match=r"p9.xlarge: not among .*g4dn\.xlarge"):
        estimate(Plan(1, machine="p9.xlarge"), ROUND)


def test_costs_of_another_machine_are_read_and_refused():
    content = {name: value for name, value in vars(MEASURED).items() if name != "gpu_crops_per_s"}
    assert costs_of({"costs": content | {"crop_s": 1, "gpu_crops_per_s": {"T4": 5000}}}).gpu_crops_per_s["T4"] == 5000
    with pytest.raises(InputError) as error:
        costs_of(content | {"crop_s": "fast", "load_s": -1})
    assert [problem.split(":")[0] for problem in error.value.problems] == ["crop_s", "load_s"]
    with pytest.raises(InputError, match="no costs in it"):
        costs_of([1])


def test_training_on_several_machines_sends_gradients():
    plan = Plan(1_000_000, train_crops=64_000, epochs=1, machine="g4dn.xlarge")
    one = works(plan, ROUND)[1]
    four = works(replace(plan, train_nodes=4), ROUND)[1]
    assert one.stage == four.stage == "train"
    assert (four.in_bytes - one.in_bytes) * 64 == pytest.approx(2 * 0.75 * 4.65e6 * 4)
