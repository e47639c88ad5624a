"""gluelamp: the GLUE/LaMP reproduction suite for parameter-efficient fine-tuning (PEFT)."""

__version__ = "0.1.0"
