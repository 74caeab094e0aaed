"""`stretto config`: the settings that hold, checks of files, migration from Tempo, schemas for editors."""
