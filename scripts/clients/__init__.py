"""Real S3 clients against a gateway, byte for byte. `scripts/clients.py` is the command; `each/` has a file a client.

A client runs in a process of its own (`worker`), in the Python environment that has it, so that neither its crash nor its
dependencies touch another's. It gets a bucket name, sample files and a place to note what it has done (`work`).
"""
