// SPDX-License-Identifier: Apache-2.0
// One cell per slice id and drop reason, for ingress and egress alike; slice id 0 where no slice was
// known. A copy that is pruned by split horizon is no drop.
#ifndef DFVISOR_DROPS_P4_
#define DFVISOR_DROPS_P4_

@id(COUNTER_DROPS) @name(".drops")
counter(DROP_CELLS, CounterType.packets) drops;

#define COUNT_DROP(meta) \
    drops.count(((bit<32>)meta.slice_id << DROP_REASON_BITS) | (bit<32>)(bit<6>)meta.drop_reason)

#endif
