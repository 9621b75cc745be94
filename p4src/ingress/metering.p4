// SPDX-License-Identifier: Apache-2.0
// Two-rate three-colour metering (RFC 2698), once, where the tenant's frame enters, on its bytes: the
// flowspace's meter first, then the slice's. Red drops, yellow gets a higher drop precedence. What is
// denied or demoted charges neither; what the flow meter drops does not charge the slice's.

control Metering(inout metadata_t meta) {
    // One cell per metered flowspace, by the meter id of its classifier entries. Configured by the
    // agent; a cell without configuration is green.
    @id(METER_FLOW) @name(".flow_meters")
    meter(FLOW_METERS, MeterType.bytes) flow_meters;

    // One cell per slice id. Configured by the agent.
    @id(METER_SLICE) @name(".slice_meters")
    meter(SLICE_IDS, MeterType.bytes) slice_meters;

    apply {
        if (meta.demoted == 0) {
            color_t flow_color = GREEN;
            if (meta.flow_meter != 0) {
                flow_meters.execute_meter((bit<32>)meta.flow_meter, flow_color);
            }
            if (flow_color == RED) {
                meta.drop_reason = DropReason.FLOW_METER;
            } else {
                slice_meters.execute_meter((bit<32>)meta.slice_id, meta.color);
                if (meta.color == RED) {
                    meta.drop_reason = DropReason.SLICE_METER;
                } else if (meta.color == YELLOW || flow_color == YELLOW) {
                    meta.dscp = meta.dscp_yellow;
                }
            }
        }
    }
}
