"""How jobs reach queriers, which fetch them: a queue for each tenant, fair between tenants."""
