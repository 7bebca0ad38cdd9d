/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/shm/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The directory or the lock file can vanish between two steps when another instance leaves. */
#define ENTER_TRIES_MAX 16

static void path_of(const struct xp_shm_place *place, uint16_t node, const char *kind,
                    char path[XP_SHM_PATH_BYTES])
{
    /* xp_shm_place_enter has seen that the longest of these fits. */
    if (snprintf(path, XP_SHM_PATH_BYTES, "%s/%s-%u.%s", place->directory, place->cluster, node, kind) >=
        (int)XP_SHM_PATH_BYTES)
        path[0] = 0;
}

void xp_shm_place_socket(const struct xp_shm_place *place, uint16_t node, char path[XP_SHM_PATH_BYTES])
{
    path_of(place, node, "sock", path);
}

static enum cf_rc directory_make(struct xp_shm_place *place, char *why, size_t why_bytes)
{
    struct stat facts;

    if (mkdir(place->directory, 0700) != 0 && errno != EEXIST) {
        snprintf(why, why_bytes, "cannot make directory %s: %s", place->directory, strerror(errno));
        return CF_SYSTEM;
    }
    if (lstat(place->directory, &facts) != 0)
        return errno == ENOENT ? CF_AGAIN : CF_SYSTEM;
    if (!S_ISDIR(facts.st_mode) || (facts.st_uid != geteuid() && facts.st_uid != 0)) {
        snprintf(why, why_bytes, "%s is not a directory of this user", place->directory);
        return CF_OPTION;
    }
    if (place->is_default && (facts.st_mode & 077) != 0) {
        snprintf(why, why_bytes, "%s is open to other users", place->directory);
        return CF_OPTION;
    }
    return CF_OK;
}

/* CF_AGAIN: the file was removed by its last holder between open and lock. */
static enum cf_rc lock_take(struct xp_shm_place *place, char *why, size_t why_bytes)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[XP_SHM_PATH_BYTES];
    struct stat held, named;
    int fd;

    path_of(place, place->node, "lock", path);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        snprintf(why, why_bytes, "cannot open %s: %s", path, strerror(errno));
        return errno == ENOENT ? CF_AGAIN : CF_SYSTEM;
    }
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        bool is_taken = errno == EAGAIN || errno == EACCES;
        snprintf(why, why_bytes,
                 is_taken ? "node %u of cluster %s is running already" : "cannot lock node %u of %s",
                 place->node, place->cluster);
        close(fd);
        return is_taken ? CF_NODE_TAKEN : CF_SYSTEM;
    }
    if (fstat(fd, &held) != 0 || stat(path, &named) != 0 || held.st_ino != named.st_ino) {
        close(fd);
        return CF_AGAIN;
    }
    place->lock_fd = fd;
    return CF_OK;
}

enum cf_rc xp_shm_place_enter(struct xp_shm_place *place, const char *directory, const char *cluster,
                              uint16_t node, char *why, size_t why_bytes)
{
    enum cf_rc rc = CF_AGAIN;
    int length;

    *place = (struct xp_shm_place){.cluster = cluster, .node = node, .lock_fd = -1};
    place->is_default = directory[0] == 0;
    if (strchr(cluster, '/') != NULL) {
        snprintf(why, why_bytes, "the cluster name '%s' contains a slash", cluster);
        return CF_OPTION;
    }
    length = place->is_default ? snprintf(place->directory, sizeof(place->directory),
                                          "/dev/shm/cachefusion-%u-%s", (unsigned)geteuid(), cluster)
                               : snprintf(place->directory, sizeof(place->directory), "%s", directory);
    if (length + strlen("/-65535.sock") + strlen(cluster) >= XP_SHM_PATH_BYTES) {
        snprintf(why, why_bytes, "the path of the socket is longer than %u bytes", XP_SHM_PATH_BYTES - 1);
        return CF_OPTION;
    }
    for (int i = 0; i < ENTER_TRIES_MAX && rc == CF_AGAIN; i++) {
        rc = directory_make(place, why, why_bytes);
        if (rc == CF_OK)
            rc = lock_take(place, why, why_bytes);
    }
    return rc == CF_AGAIN ? CF_SYSTEM : rc;
}

/* Removes the names while the lock is held: whoever locks the file afterwards sees that it has no name. */
void xp_shm_place_leave(struct xp_shm_place *place)
{
    char path[XP_SHM_PATH_BYTES];

    if (place->lock_fd < 0)
        return;
    path_of(place, place->node, "sock", path);
    unlink(path);
    path_of(place, place->node, "lock", path);
    unlink(path);
    close(place->lock_fd);
    place->lock_fd = -1;
    if (place->is_default)
        (void)rmdir(place->directory); /* refused while others are there */
}

bool xp_shm_place_is_held(const struct xp_shm_place *place, uint16_t node)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[XP_SHM_PATH_BYTES];
    bool is_held;
    int fd;

    path_of(place, node, "lock", path);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno != ENOENT;
    is_held = fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
    close(fd);
    return is_held;
}
