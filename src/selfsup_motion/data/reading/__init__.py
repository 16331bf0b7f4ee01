"""Reading files: pictures, videos, masks, lists."""
