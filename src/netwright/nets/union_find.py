"""A union-find of labels: they are united as operators make indices meet, and remember what made them rigid."""

from __future__ import annotations

import numpy as np

RIGID = 0
"""The label of whatever cannot shrink, once labels are resolved."""


class UnionFind:
    """Labels are whole numbers from 1; sets of them are united, and whole sets become rigid.

    Attributes:
        now: the cause, a positive number, of what becomes rigid from now on.
    """

    def __init__(self) -> None:
        self.now = 1
        self._root = np.arange(1024)
        self._cause = np.zeros(1024, dtype=np.int64)  # of a root: 0 while it may shrink
        self._used = 1

    def new(self, n: int) -> np.ndarray:
        """``n`` labels that were not there before."""
        first, self._used = self._used, self._used + n
        if self._used > len(self._root):
            self._root = np.concatenate([self._root, np.arange(len(self._root), 2 * self._used)])
            self._cause = np.concatenate([self._cause, np.zeros(2 * self._used - len(self._cause), dtype=np.int64)])
        return np.arange(first, first + n, dtype=np.int64)

    def fixed(self, n: int) -> np.ndarray:
        """New labels of a dimension that cannot shrink."""
        labels = self.new(n)
        self._cause[labels] = self.now
        return labels

    def none(self) -> np.ndarray:
        """Marks for all labels that there are: none is set."""
        return np.zeros(self._used, dtype=bool)

    def find(self, labels: np.ndarray) -> np.ndarray:
        """The representative of each label's set."""
        found = self._root[labels]
        while np.any((further := self._root[found]) != found):
            found = further
        self._root[labels] = found
        return found

    def unite(self, one: np.ndarray, other: np.ndarray) -> None:
        """The sets of labels at the same place become one; it is rigid if one of them was."""
        while True:
            a, b = self.find(one), self.find(other)
            apart = a != b
            if not apart.any():
                return
            low, high = np.minimum(a, b)[apart], np.maximum(a, b)[apart]
            # One label may meet several others: again, until all are one.
            np.minimum.at(self._root, high, low)
            np.maximum.at(self._cause, low, self._cause[high])

    def rigid(self, *several: np.ndarray) -> None:
        """The labels cannot shrink."""
        for labels in several:
            roots = self.find(labels)
            self._cause[roots] = np.where(self._cause[roots] == 0, self.now, self._cause[roots])

    def causes(self, labels: np.ndarray) -> np.ndarray:
        """What made each label rigid; 0 for those that may shrink."""
        return self._cause[self.find(labels)]

    def resolved(self, labels: np.ndarray) -> np.ndarray:
        """Equal numbers for labels of one set, :data:`RIGID` for those that cannot shrink."""
        found = self.find(labels)
        return np.where(self._cause[found] > 0, RIGID, found)
