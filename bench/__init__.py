"""Speed and memory, beside what the machine could do at best. `python -m bench`; read README.md."""
