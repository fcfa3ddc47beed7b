"""The napari window: layers, keys and docks over one session a viewer."""
