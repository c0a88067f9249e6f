"""What `rtseg predict` does with a camera or a stream, see `rtseg.deploy.video.live_run`."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from rtseg.addresses import shown
from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.lanes import resized_note
from rtseg.deploy.folder.results import Results
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.ffmpeg import ffmpeg_program
from rtseg.deploy.video.film_results import FilmResults, Written
from rtseg.deploy.video.live_options import LiveOptions
from rtseg.deploy.video.live_run import LiveRun
from rtseg.deploy.video.live_slot import ends_at_a_signal
from rtseg.deploy.video.live_source import LiveSource
from rtseg.deploy.video.predict_film import NO_FFMPEG
from rtseg.errors import UserError
from rtseg.terminal import Console

NAME = "live"  # of the results: an address may hold a password


def predict_live(address: str, results: Results, options: LiveOptions, *, threads: int, counts: Counts) -> None:
    """Writes the results of a camera or a stream until it ends or is stopped, and says what was written.

    Args:
        address: as `rtseg.addresses.live_source` gives it.
        results: the folder.
        options: how it is taken.
        threads: that draw.
        counts: is kept up to date.

    Raises:
        UserError: see `open_live`; it is lost; a frame fails, or cannot be written. What was written before plays.
    """
    console, steady = Console(stderr=True), results.outputs.steady
    if (program := ffmpeg_program()) is None and results.outputs.film != "frames":
        console.print(NO_FFMPEG, soft_wrap=True)
    with open_live(address, results.predictor, options, console) as source:
        line: dict[str, Any] = {"name": NAME, "source": source.name, **({"steady": True} if steady else {})}
        film = FilmResults(results, NAME, line, source.rate, program)
        try:
            live_through_network(
                source, results.predictor, film, line, steady=steady, threads=threads, counts=counts, console=console
            )
        finally:
            if film.frames:
                results.write_legend()


@contextmanager
def open_live(address: str, predictor: Predictor, options: LiveOptions, console: Console) -> Iterator[LiveSource]:
    """A camera or a stream that this network takes; says where its frames are resized, and when it is lost.

    Raises:
        UserError: it cannot be opened, see `LiveSource`; the network takes other channels; --deadline or --reconnect
            is given and it is a film, which waits for the network.
    """
    if predictor.card.channels is not None:
        raise UserError(f"{shown(address)} has red, green and blue, and this network takes other channels")
    with closing(LiveSource(address, options, lambda text: console.print(text, soft_wrap=True))) as source:
        if source.stated and (options.deadline is not None or options.reconnect):
            raise UserError(
                f"{source.name} is a film of {source.stated} frames, which waits: leave --deadline and --reconnect out"
            )
        if predictor.fixed_size and predictor.fixed_size != source.size:
            console.print(resized_note(*predictor.fixed_size), soft_wrap=True)
        yield source


def live_through_network(
    source: LiveSource,
    predictor: Predictor,
    film: Written,
    line: dict[str, Any],
    *,
    steady: bool,
    threads: int,
    counts: Counts,
    console: Console,
) -> None:
    """The frames of a live source through a network, to where they go; then says what was written, and how late.

    Args:
        line: what a record says of the source, is completed.

    Raises:
        UserError: the source is lost; a frame fails, or cannot be written.
    """
    predictor.runner.may_measure = True
    counts.film, counts.frames = source.name, 0
    run = LiveRun(source, predictor, film, line, steady=steady, counts=counts)
    with ends_at_a_signal(source.slot):
        run.write_all(threads, console)
    run.summarise()
    if source.failure is not None:
        raise source.failure
