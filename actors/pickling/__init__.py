"""How values, references and failures become bytes and back; `actors/serialization.py` is the face."""
