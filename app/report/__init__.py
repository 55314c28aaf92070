"""`clickfold report`: one page about one model, that needs nothing else.

documents   what is reported: asked of a service, or computed from a snapshot file
charts      documents to drawings (matplotlib, the extra `report`)
page        drawings and tables to one HTML file
"""
