"""From frames to cubes, catalogs and work lists."""
