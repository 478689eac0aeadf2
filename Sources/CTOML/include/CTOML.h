// TOML 1.0.0 as plain C: no type and no exception of C++ crosses this interface. Any thread.
#ifndef LUCIDA_CTOML_H
#define LUCIDA_CTOML_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// UTF-8 that may hold NUL and does not end in one. Belongs to its document.
typedef struct {
    const char *bytes;
    size_t length;
} lucida_toml_text;

typedef enum {
    LUCIDA_TOML_TABLE,
    LUCIDA_TOML_ARRAY,
    LUCIDA_TOML_STRING,
    LUCIDA_TOML_INTEGER,
    LUCIDA_TOML_FLOAT,
    LUCIDA_TOML_BOOLEAN,
    /// A date, a time or both.
    LUCIDA_TOML_DATE_TIME,
} lucida_toml_kind;

/// One value.
typedef struct {
    lucida_toml_kind kind;
    /// Of its key, or of an array's element itself; the first is 1.
    uint32_t line;
    /// Empty in an array and at the root.
    lucida_toml_text key;
    /// Of a table or array.
    size_t child_count;
    /// Of a string.
    lucida_toml_text string;
    /// Of an integer; of a boolean 0 or 1.
    int64_t integer;
    /// Of a float.
    double number;
} lucida_toml_node;

/// A parsed text, or what is wrong with it.
typedef struct lucida_toml lucida_toml;

/// Parses `length` bytes. Nesting is limited: no text overflows a stack of 1 MiB.
///
/// @return to be freed by lucida_toml_free; NULL if memory is out.
lucida_toml *lucida_toml_parse(const char *bytes, size_t length);

/// All values, depth first: behind a table or array stand its children, each followed by its own.
/// The root table comes first; children stand in the order of the text.
///
/// @return NULL if the text could not be parsed.
const lucida_toml_node *lucida_toml_nodes(const lucida_toml *document);

/// What is wrong, if lucida_toml_nodes is NULL: a sentence, where, from line 1 and column 1.
lucida_toml_text lucida_toml_error(
    const lucida_toml *document, uint32_t *line, uint32_t *column);

void lucida_toml_free(lucida_toml *document);

#ifdef __cplusplus
}
#endif

#endif
