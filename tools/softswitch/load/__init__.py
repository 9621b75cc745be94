"""From BMv2 JSON to the checked intermediate form (`softswitch.ir`)."""
