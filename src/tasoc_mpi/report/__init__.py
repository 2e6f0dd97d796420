"""What a person looks at after a run: tables, pictures, and the comparison with a simulation's truth."""
