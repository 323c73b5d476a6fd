#ifndef CARCHIVE_H
#define CARCHIVE_H

// libarchive's own declarations. The functions that are used are defined here and go to the library, which is loaded at
// first use: with its XML and Unicode tables it costs a program milliseconds that opens no archive.
#include <archive.h>
#include <archive_entry.h>

#endif
