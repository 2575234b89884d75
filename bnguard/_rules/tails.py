"""DL rules of tail batches: the last batch of an epoch, or of a worker."""

from __future__ import annotations

from collections.abc import Iterator

from bnguard import _remedies as remedies
from bnguard._facts.findings import Finding, Severity
from bnguard._facts.loaders import LoaderFact
from bnguard._remedies import Advice
from bnguard._rules.registry import Example, Rule
from bnguard._rules.single_sample import (
    arithmetic_of,
    finding_of,
    gravity_of,
    is_a_tail,
    is_from_a_worker,
    is_in_a_piece,
    only_batches_of_one,
    place_of,
    with_model,
)

_SMALL_TAIL = 4
"""DL107 speaks where the tail is smaller than the other batches by more than this factor."""

_LEAVES_ONE = "train_loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=8)\n"
_MERGED = "train_loader = bnguard.repair.merge_tail(train_loader)\n"
_SHARDED = """
class Shard(IterableDataset):
    def __len__(self):
        return 35

    def __iter__(self):
        worker = get_worker_info()
        return iter(range(worker.id, 35, worker.num_workers))


train_loader = DataLoader(Shard(), batch_size=4, num_workers=4)
"""


def _check_train_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode != "train" or not is_a_tail(fact) or is_from_a_worker(fact):
        return
    cause = f"{place_of(fact)} holds 1 sample ({arithmetic_of(fact)})"
    yield finding_of(fact, rule, cause, *_for_a_tail(fact))


def _for_a_tail(fact: LoaderFact) -> tuple[Advice, ...]:
    if fact.first_single and fact.first_single.steps == 1:
        return (remedies.MORE_SAMPLES.for_case(), remedies.ALLOW_SINGLE_SAMPLE.for_case())
    if len({s.ranks for s in fact.streams}) > 1:
        does = "choose a batch size that leaves no lone sample, or let the last round be filled up"
        return (remedies.BATCH_SIZE.for_case(does, price=""),)
    if not fact.borders:
        return (remedies.OWN_BATCHES.for_case() if fact.batch_size is None else remedies.BATCH_SIZE.for_case(),)
    return (remedies.MERGE_TAIL.for_case(name=fact.name_in_code),)


def _check_eval_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode == "eval" and is_a_tail(fact) and not is_from_a_worker(fact):
        yield finding_of(
            fact, rule, f"{place_of(fact)} holds 1 sample ({arithmetic_of(fact)})", remedies.EVAL_MODE.for_case()
        )


def _check_worker_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if not is_from_a_worker(fact) or is_in_a_piece(fact) or only_batches_of_one(fact):
        return
    single = fact.first_single
    assert single is not None
    last = max(s.workers[1] for s in fact.streams if s.workers and (1, 1) in s.batches)
    many = f"workers {single.worker} to {last} each end" if last != single.worker else f"worker {single.worker} ends"
    cause = f"{many} with a batch of 1 sample, first at step {single.step:,} of {single.steps:,}"
    cause += f" ({fact.workers:,} worker{'s' * (fact.workers != 1)}, each with batches of its own)"
    merge = remedies.MERGE_TAIL.for_case("merge it into the batch before it, in each worker", name=fact.name_in_code)
    yield finding_of(fact, rule, cause, merge, severity=gravity_of(fact, rule))


def _check_small_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode != "train" or fact.first_single or fact.batch_size is None:
        return
    for stream in fact.streams:
        if len(stream.batches) < 2 or stream.batches[-1][1] != 1:
            continue
        full, tail = stream.batches[0][0], stream.batches[-1][0]
        if tail > 1 and tail * _SMALL_TAIL < full:
            cause = f"the tail batch holds {tail:,} samples, the others {full:,}: its statistics are noisier"
            unstable = "if the last step of an epoch is unstable"
            balance = remedies.BALANCE.for_case(f"balance the batches {unstable}", name=fact.name_in_code)
            other = remedies.BATCH_SIZE.for_case(f"choose another batch size {unstable}", price="")
            yield finding_of(fact, rule, cause, other if fact.workers or not fact.borders else balance)
            return


RULES: list[Rule] = [
    Rule(
        code="DL101",
        name="lone-sample-in-training",
        severity=Severity.ERROR,
        summary="a training loader's tail batch holds exactly one sample",
        why="""
        The last batch of an epoch holds what is left over: n % batch_size samples. Where that is 1, a BatchNorm layer
        in training mode takes its mean and variance over a single sample. After a Linear layer or global pooling that
        is one value per channel, and PyTorch raises "Expected more than 1 value per channel when training". With larger
        feature maps nothing is raised, and the running statistics learn from one image.

        The crash comes at the end of the first epoch, hours in, and it comes and goes as samples are added to the
        dataset. With DistributedSampler a tail of one reaches every rank at the same step.
        """,
        fix="""
        The call works on any DataLoader, and `bnguard fix` writes it into a script. Another batch size works as long as
        the dataset keeps its size. drop_last=True loses n % batch_size samples of every epoch; shuffling makes them
        others each time. It yields no batch at all when n < batch_size, and it does not help when batch_size is 1.
        """,
        needs="loader",
        remedies=(
            remedies.MERGE_TAIL,
            remedies.BALANCE,
            remedies.BATCH_SIZE,
            remedies.OWN_BATCHES,
            remedies.DROP_LAST,
        ),
        headline="a batch of one sample comes in training",
        headline_at="a batch of one sample comes at step {step} of {steps}",
        example=Example(
            wrong=_LEAVES_ONE,
            right=_LEAVES_ONE + _MERGED,
        ),
        check_loader=_check_train_tail,
        check_forecast=with_model(_check_train_tail),
    ),
    Rule(
        code="DL102",
        name="lone-sample-in-evaluation",
        severity=Severity.WARNING,
        summary="an evaluation loader's tail batch holds exactly one sample: safe only with model.eval()",
        why="""
        In eval mode BatchNorm uses its running statistics, and one sample is as good as many. The batch breaks only
        where the model is still in training mode, because model.eval() was forgotten or undone, or where a layer has
        track_running_stats=False and uses batch statistics in both modes.
        """,
        fix="""
        Call model.eval() before the loop and model.train() after it. Do not set drop_last=True on an evaluation loader:
        the metrics would leave out samples.
        """,
        needs="loader",
        remedies=(remedies.EVAL_MODE,),
        headline="a batch of one sample comes in evaluation, safe only after model.eval()",
        example=Example(
            wrong="val_loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=8)",
            right="val_loader = DataLoader(TensorDataset(torch.randn(10, 4)), batch_size=8)",
        ),
        check_loader=_check_eval_tail,
        check_forecast=with_model(_check_eval_tail),
    ),
    Rule(
        code="DL106",
        name="lone-sample-from-a-worker",
        severity=Severity.ERROR,
        summary="a worker's tail batch of an IterableDataset holds one sample",
        why="""
        With an IterableDataset every worker process batches the samples it yields itself, so each worker has a tail of
        its own, and the tails arrive before the end of the epoch. n % batch_size says nothing about them, and
        len(loader) ignores workers.
        """,
        fix="""
        Merging lets every worker hold one batch back and join its tail to it. Another batch size or number of workers
        may do as well. drop_last=True loses the tail of every worker.
        """,
        needs="loader",
        remedies=(remedies.MERGE_TAIL, remedies.FEWER_WORKERS, remedies.BATCH_SIZE),
        headline="a worker's tail holds one sample",
        example=Example(
            wrong=_SHARDED + 'shard = "stride"  # what the audit is told: --shard stride',
            right=_SHARDED + _MERGED + 'shard = "stride"',
        ),
        check_loader=_check_worker_tail,
        check_forecast=with_model(_check_worker_tail),
    ),
    Rule(
        code="DL107",
        name="small-tail",
        severity=Severity.NOTE,
        summary="the tail batch is much smaller than the others",
        why="""
        A tail of a few samples does not raise, yet its mean and variance are noisy, and they count as much as those of
        a full batch in the running statistics and in the optimizer step. Some training runs show a spike at the end of
        each epoch for this reason.
        """,
        fix="""
        Spread the samples evenly over the batches, or use drop_last=True where the dataset is large enough that the
        loss does not matter.
        """,
        needs="loader",
        remedies=(remedies.BALANCE, remedies.DROP_LAST),
        example=Example(
            wrong="train_loader = DataLoader(TensorDataset(torch.randn(34, 4)), batch_size=32)",
            right="""
            train_loader = DataLoader(TensorDataset(torch.randn(34, 4)), batch_size=32)
            train_loader = bnguard.repair.balance(train_loader)
            """,
        ),
        check_loader=_check_small_tail,
    ),
]
