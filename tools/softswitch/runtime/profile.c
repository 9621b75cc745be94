#include "profile.h"

#include <errno.h>
#include <stdlib.h>

/* Room for number `index` in an array of pointers; new places are NULL. */
static void *reserve(void *array, uint32_t *room, uint32_t index) {
    void **grown = array;
    if (index < *room)
        return array;
    uint32_t more = index < 8 ? 16 : index * 2;
    grown = realloc(array, more * sizeof *grown);
    if (!grown)
        return NULL;
    memset(grown + *room, 0, (more - *room) * sizeof *grown);
    *room = more;
    return grown;
}

int sw_profile_member(struct sw_profile *p, uint32_t member, struct sw_member *fresh) {
    struct sw_member **members = reserve(p->members, &p->n_members, member);
    if (!members)
        return -ENOMEM;
    p->members = members;
    free(members[member]);
    members[member] = fresh;
    return 0;
}

int sw_profile_group(struct sw_profile *p, uint32_t group, struct sw_member_group *fresh) {
    struct sw_member_group **groups = reserve(p->groups, &p->n_groups, group);
    if (!groups)
        return -ENOMEM;
    p->groups = groups;
    free(groups[group]);
    groups[group] = fresh;
    return 0;
}

void sw_profile_clear(struct sw_profile *p) {
    for (uint32_t i = 0; i < p->n_members; i++)
        free(p->members[i]);
    for (uint32_t i = 0; i < p->n_groups; i++)
        free(p->groups[i]);
    free(p->members);
    free(p->groups);
}
