"""A terminal of the tests: a file that says it is one, and what a person would see on it."""

import io
import re

CODES = re.compile(r'\x1b\[([0-9;?]*)([A-Za-z])|\x1b.|([\s\S])')


class Terminal(io.StringIO):
    """Takes what is written, as a terminal."""

    def isatty(self):
        return True

    def screen(self):
        """The lines that stand there, after all cursor movements."""
        rows, y, x = [[]], 0, 0
        for number, code, character in CODES.findall(self.getvalue()):
            if code == 'A':
                y = max(y - int(number or 1), 0)
            elif code == 'K':
                rows[y] = [] if number == '2' else rows[y][:x]
            elif character == '\n':
                y, x = y + 1, 0
            elif character == '\r':
                x = 0
            elif character:
                rows[y] += [' '] * (x + 1 - len(rows[y]))
                rows[y][x] = character
                x += 1
            while len(rows) <= y:
                rows.append([])
        return [''.join(row).rstrip() for row in rows]
