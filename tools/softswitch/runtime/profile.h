/* Action profiles: members (an action with arguments) and groups of members.
 *
 * Members and groups are named by small numbers from 0 on. An entry of an indirect table refers to
 * a member by its number, to a group by SW_GROUP_REF | number. A reference to what does not exist
 * is no action. Nothing here locks: the caller holds the engine's lock.
 */
#ifndef SW_PROFILE_H
#define SW_PROFILE_H

#include "bits.h"

#define SW_GROUP_REF (1ull << 63)

struct sw_member {
    uint32_t action;
    uint64_t args[];
};

struct sw_member_group {
    uint32_t n;
    uint32_t members[];
};

struct sw_profile {
    struct sw_member **members;
    struct sw_member_group **groups;
    uint32_t n_members, n_groups; /* room */
};

/* The group that an entry's reference names; NULL if it names a member, or a group that is gone. */
SW_INLINE const struct sw_member_group *sw_group_named(const struct sw_profile *p, uint64_t ref) {
    uint64_t group = ref & ~SW_GROUP_REF;
    return ref & SW_GROUP_REF && group < p->n_groups ? p->groups[group] : NULL;
}

/* The member of that number, or NULL. */
SW_INLINE const struct sw_member *sw_member_named(const struct sw_profile *p, uint64_t member) {
    return member < p->n_members ? p->members[member] : NULL;
}

/* Put a member (NULL: take it out) or a group in place; the old one is freed. 0 or -ENOMEM. */
int sw_profile_member(struct sw_profile *p, uint32_t member, struct sw_member *fresh);
int sw_profile_group(struct sw_profile *p, uint32_t group, struct sw_member_group *fresh);
void sw_profile_clear(struct sw_profile *p);

#endif
