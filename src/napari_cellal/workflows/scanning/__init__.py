"""Scans: many images searched, classed and measured, on one computer or a cluster.

`places` finds the images, `plan` says what is to be done and what is done already, `running`
has it done by a crew (`streams` here, `cluster` elsewhere) and `writing` keeps what comes back.
"""
