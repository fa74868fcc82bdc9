"""What the command ``touchstone`` does with journals and with what people write down."""
