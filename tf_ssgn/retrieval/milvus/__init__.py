"""The gallery in Milvus."""
