"""One line that tells how far a run of several steps is and how long it will take."""

import shutil
import sys
import time

BAR = 24
# Seconds between two plain lines where the output is no terminal.
PULSE = 30
# The first minute of estimated work also counts as done at the estimated pace, so that the
# first seconds, in which a process starts, do not make the time left jump.
PRIOR = 60


class Progress:
    """Steps of known relative cost, one after the other, shown as one line.

    On a terminal the line is rewritten in place. Elsewhere (a log, CI) a plain line is printed
    every 30 seconds. A step that ends leaves a line of its own in both.

    The time left is the estimated cost of what is left, times how much slower or faster than
    estimated this machine has been so far.

    Args:
        steps (dict[str, float]): Title of each step to its estimated seconds, in order.
        stream (TextIO, optional): Where to write. Defaults to standard output.
        clock (Callable[[], float]): Seconds. Defaults to ``time.monotonic``.
    """

    def __init__(self, steps, stream=None, clock=time.monotonic):
        self.titles = list(steps)
        self.left = dict(steps)
        self.stream = stream or sys.stdout
        self.clock = clock
        self.live = self.stream.isatty()
        self._step, self._fraction = None, 0.0
        self._started = self._printed = clock()
        # Estimated and real seconds of the steps that this run has finished.
        self._done, self._spent = 0.0, 0.0

    def start(self, step):
        """Begin a step."""
        self._step, self._started = step, self.clock()
        self.update(0.0)

    def update(self, fraction, note=''):
        """Show how much of the current step is done.

        Args:
            fraction (float): From 0 to 1.
            note (str): Where it stands, such as an epoch.
        """
        self._fraction = min(max(fraction, 0.0), 1.0)
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write('\r' + self.line(note)[:width].ljust(width))
            self.stream.flush()
        elif self.clock() - self._printed >= PULSE:
            self._print(self.line(note))

    def finish(self, note=''):
        """End the current step and leave a line about it."""
        elapsed = self.clock() - self._started
        self._done += self.left.pop(self._step)
        self._spent += elapsed
        self._fraction = 0.0
        self._print(f'{self._title(self._step)}: {duration(elapsed)}{note and ", " + note}')

    def skip(self, step, note):
        """Leave a line about a step that need not run."""
        self.left.pop(step)
        self._print(f'{self._title(step)}: {note}')

    def abandon(self):
        """Leave the line as it stands: the current step does not end."""
        if self.live:
            self.stream.write('\n')
            self.stream.flush()

    def seconds_left(self):
        """Seconds until the last step is done, by what was seen so far."""
        part = self.left.get(self._step, 0.0) * self._fraction
        spent = self._spent + self.clock() - self._started
        pace = (spent + PRIOR) / (self._done + part + PRIOR)
        return (sum(self.left.values()) - part) * pace

    def line(self, note=''):
        """The line as it stands now."""
        part = self.left.get(self._step, 0.0) * self._fraction
        share = (self._done + part) / (self._done + sum(self.left.values()))
        bar = ('#' * round(BAR * share)).ljust(BAR, '.')
        left = duration(self.seconds_left())
        return f'[{bar}] {share:4.0%}  {left} left  {self._title(self._step)}{note and ", " + note}'

    def _title(self, step):
        return f'{self.titles.index(step) + 1}/{len(self.titles)} {step}'

    def _print(self, text):
        self._printed = self.clock()
        if self.live:
            text = '\r' + text.ljust(shutil.get_terminal_size().columns - 1)
        self.stream.write(text.rstrip() + '\n')
        self.stream.flush()


def duration(seconds):
    """``'4:07'``: minutes and seconds."""
    seconds = round(seconds)
    return f'{seconds // 60}:{seconds % 60:02d}'
