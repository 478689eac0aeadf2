// malloc and its relatives, interposed to count what the data plane's threads allocate. Linked into
// the program alone: the test bundle and sanitizer builds keep the C library's own.
#ifndef LUCIDA_CALLOCATION_COUNTER_H
#define LUCIDA_CALLOCATION_COUNTER_H

/// Starts the reporting. Calling it also makes the linker keep this file.
void lucida_report_allocations(void);

#endif
