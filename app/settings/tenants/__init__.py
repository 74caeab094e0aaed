"""What a tenant may have: the file of overrides, in our format and Tempo's, and what tenants set themselves."""
