// Whether a person is looking.

internal import Glibc

/// Whether standard error is a terminal, so that a line that keeps changing makes sense.
func isTerminal() -> Bool { isatty(STDERR_FILENO) == 1 }

/// Whether standard output is one.
func isOutputTerminal() -> Bool { isatty(STDOUT_FILENO) == 1 }

/// Writes to standard output at once, also into a pipe.
func write(_ text: String) {
    var text = text
    text.withUTF8 { bytes in _ = Glibc.write(STDOUT_FILENO, bytes.baseAddress, bytes.count) }
}
