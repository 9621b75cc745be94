// SPDX-License-Identifier: Apache-2.0
// To the agent, as far as the slice's punt meter lets it.

control Punt(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    // Packets per slice id; cell 0 for what has no slice. Configured by the agent.
    @id(METER_PUNT) @name(".punt_meters")
    meter(SLICE_IDS, MeterType.packets) punt_meters;

    apply {
        punt_meters.execute_meter((bit<32>)meta.slice_id, meta.color);
        if (meta.color == RED) {
            meta.drop_reason = DropReason.PUNT_METER;
        } else {
            meta.encapsulate = 0;
            standard_metadata.egress_spec = CPU_PORT;
        }
    }
}
