/* What a process gives up once it knows what it needs: other files (Landlock), other system calls
 * (seccomp). SPDX-License-Identifier: Apache-2.0
 *
 * For the case that a parser has a hole all the same: whoever gets in can then not start a program,
 * not read or write files outside of a short list, not make memory both writable and executable,
 * and not open other kinds of sockets. Neither limit can be taken back.
 *
 * Landlock binds the calling thread and those it starts, so it comes before the first thread.
 * The filter of system calls comes last and binds all threads. Where the kernel has one of them
 * not, the daemon goes on without and says so.
 */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum sandbox_access {
    SANDBOX_READ,
    SANDBOX_CHANGE,      /* and read */
    SANDBOX_FILES_ALONE, /* reads what is in the files of a folder, not which there are */
};

struct sandbox_path {
    const char
        *path; /* a file, or a folder with all that is in it; left out where it is not there */
    enum sandbox_access access;
};

/* From now on only these paths, and a few of the system's that its library reads: time zones, names
 * of hosts, our own entries in /proc. A rule means the file that is there now; one that takes its
 * place later needs a rule for its folder. No core is dumped any more. False where the kernel does
 * not do it: errno says why. */
bool sandbox_limit_files(const struct sandbox_path *paths, size_t count);

/* From now on only system calls that a running daemon needs; others fail with EPERM. */
bool sandbox_limit_calls(void);

/* False in builds with a sanitizer: their run time library needs what is given up here. */
bool sandbox_is_possible(void);

#endif
