"""Small trees of files in the official layout of each dataset, quirks included."""
