r"""The tables and figures of `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet
Models?" <https://arxiv.org/abs/2303.04143>`_, one file each, for ``benchmarks/paper.py``.

A file ``tableN.py`` or ``figureN.py``, and ``properties.py``, has two names: :obj:`ROWS`, the
:class:`~tables.rows.Rows` it is made of, and :obj:`report`, a function of their
:class:`~tables.rows.Results` that returns tables (:class:`~tables.output.Table`) and figures of
matplotlib. Rows that several tables need are in a file of their own (as :obj:`zero_step`,
:obj:`finetuning`, :obj:`ranking` and :obj:`trained`), and what the paper reports in
``published.json``: it is written below each table of that name.
"""
