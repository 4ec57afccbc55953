"""The stage that trains the super-network."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.errors import CheckpointError, NetwrightError
from ..core.files import sha256
from ..core.metric import Measurement
from ..core.provenance import versions
from ..nets.state import load_state, read_tensors, state_of, write_tensors
from ..nets.supernet import SuperNet
from ..report.data import format_measurement
from ..tasks.data import loader_of
from ..training import loop
from ..training.rules import Sandwich
from .context import Context
from .judgement import FRESH_LR, TRAINED_LR, is_trained, worry
from .run_directory import LEFT, Training


def train(context: Context) -> None:
    """Train the super-network, or load it where it is trained; one that comes with its weights is left alone."""
    if context.untrained:
        context.callback.stage(f"not training: {context.untrained}")
        return
    net = context.source.supernet()
    if not _load(context, net):
        context.callback.stage("training")
        _train(context, net)


def require_trained(context: Context) -> None:
    """Load the super-network that is trained here; say how to get it where it is not there yet."""
    if not context.untrained and not _load(context, context.source.supernet()):
        raise NetwrightError(f"no trained super-network in {context.run}: run 'netwright train' with it first")


def _key(context: Context) -> str:
    """Of what the weights depend on."""
    key = context.recipe.key("model", "data", "task", "train", "seed")
    return f"{key} {context.data.fingerprint}".strip() if context.data is not None else key


def _load(context: Context, net: SuperNet) -> bool:
    """Load what was trained; returns whether there was something."""
    run, about = context.run, context.run.read_training()
    if about is None:
        return False
    if about.key != _key(context):
        raise CheckpointError(f"{run.supernet} was trained by another recipe; use another output directory")
    tensors, _ = read_tensors(run.weights)
    if about.files.get(run.weights.name, {}).get("sha256") != sha256(run.weights):
        raise CheckpointError(
            f"{run.weights} is not what its manifest says (damaged?); {LEFT} {run.supernet} away to train anew"
        )
    load_state(net.module, tensors, run.weights)
    net.module.eval()
    return True


def _train(context: Context, net: SuperNet) -> None:
    assert context.validation is not None and context.data is not None
    recipe, wish, run, metric = context.recipe, context.recipe.train, context.run, context.validation.metrics[0]
    found: dict[str, Measurement] = {}

    def evaluate() -> Mapping[str, Measurement]:
        for name in ("largest", "smallest"):
            network, _ = context.network(getattr(net, name))
            found[name] = context.validate(network)[metric.name]
        return dict(found)

    evaluate()
    given, lr = found["largest"], _learning_rate(context, found["largest"])
    loop.train(
        net,
        loader_of(context.data.train, wish.batch_size, shuffle=True, augment=context.data.augment),
        task=context.task,
        epochs=wish.epochs,
        optimizer=f"sgd,lr={lr},momentum=0.9,nesterov=true,weight_decay={wish.weight_decay}",
        rule=Sandwich(wish.random),
        seed=recipe.seed,
        checkpoint=run.checkpoint,
        key=_key(context),
        evaluate=evaluate,
        callback=context.callback.trained,
    )
    if wish.epochs and found["largest"] is given:  # all epochs were done before an interruption
        evaluate()
    warning = worry(metric, given, found["largest"], lr) if wish.epochs else ""
    if warning:
        context.callback.stage(f"warning: {warning}")
    write_tensors(run.weights, state_of(net.module))
    about = Training(
        key=_key(context),
        recipe=recipe.to_json(),
        space=net.space.fingerprint,
        metric=metric.name,
        validation={"given": given.value, **{name: m.value for name, m in found.items()}},
        warning=warning,
        versions=versions(),
        files={run.weights.name: {"sha256": sha256(run.weights), "bytes": run.weights.stat().st_size}},
    )
    run.write_training(about)
    run.checkpoint.unlink(missing_ok=True)


def _learning_rate(context: Context, given: Measurement) -> float:
    """The recipe's, or what suits the given model."""
    assert context.validation is not None
    wish = context.recipe.train
    if wish.lr is not None:
        return wish.lr
    baseline = _baseline(context) if wish.epochs else None
    if baseline is None or not is_trained(context.validation.metrics[0], given, baseline):
        return FRESH_LR
    context.callback.stage(
        f"the given model has {context.validation.metrics[0].name} {format_measurement(given)} on the validation data: "
        f"it comes trained, so train.lr is {TRAINED_LR:g} by default, not {FRESH_LR:g}"
    )
    return TRAINED_LR


def _baseline(context: Context) -> float | None:
    """What a constant answer has on the validation data, by the first metric; None where that is not known."""
    assert context.validation is not None
    network, _ = context.network(context.source.space.largest)
    return context.validation.evaluate(network).baseline().get(context.validation.metrics[0].name)
