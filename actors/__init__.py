"""What a user touches and what runs their code: the API, references, cells and the per-process runtime."""
