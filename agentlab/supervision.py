"""The pure state machine of supervision trees: see ``Tree``. (Words first; the machine follows.)"""
