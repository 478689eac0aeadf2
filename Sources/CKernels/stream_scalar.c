// The stream's kernels for any CPU: vectors as the compiler's baseline has them. The search for
// motion has too many branches to be written twice; the tests say plainly what each kernel means.
#include <string.h>

#include "tables.h"

#define LANES 4
#define STREAM_TABLE ck_scalar_stream_kernels
#include "stream_kernels.h"
