// Whether a person is looking.

internal import Glibc

/// Whether standard error is a terminal, so that a line that keeps changing makes sense.
func isTerminal() -> Bool { isatty(STDERR_FILENO) == 1 }
